"""The record for a SIEM: OCSF events over syslog."""
