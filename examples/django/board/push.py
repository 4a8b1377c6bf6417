"""The publisher, one for the process."""

from sidestream import Publisher

push = Publisher()  # SIDESTREAM_URL and SIDESTREAM_KEY of the environment
