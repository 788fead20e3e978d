"""The encounters' name and permission. No table is made."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """See `models.Encounter`."""

    initial = True
    dependencies = []  # noqa: RUF012 - as Django writes migrations
    operations = [  # noqa: RUF012
        migrations.CreateModel(
            name="Encounter",
            fields=[("id", models.CharField(max_length=32, primary_key=True, serialize=False))],
            options={
                "verbose_name": "encounter",
                "verbose_name_plural": "encounters",
                "managed": False,
                "default_permissions": ("view",),
            },
        ),
    ]
