"""`python -m iii_client` is the command `iii-client`."""

from iii_client.cli import main

main()
