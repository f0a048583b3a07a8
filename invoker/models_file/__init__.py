"""The models file: what it may say, and all that is wrong in one."""
