"""The socket that gateway workers send their records to."""
