"""`python -m iii_client` is the command `iii-client`."""

from iii_client.cli import main

# Guarded: hashing in worker processes imports the main module again.
if __name__ == "__main__":
    main()
