"""`manage.py iii`, `iii_scan`, `iii_drain`, `iii_filter_update`, `iii_doctor`."""
