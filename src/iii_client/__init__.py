"""Keep known abuse material off your servers, without any image leaving them."""

__version__ = "0.1.0"
