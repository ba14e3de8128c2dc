"""The mailbox page of the local SES: what was sent, as a person reads mail."""
