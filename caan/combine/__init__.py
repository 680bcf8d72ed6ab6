"""`caan combine`: several trained models as one."""
