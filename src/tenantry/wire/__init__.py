"""Codecs without sockets, used by clients, doors and the local SES alike."""
