"""The configuration of container tools in /etc/containers, shared by the fetchers: signature policy and credentials."""
