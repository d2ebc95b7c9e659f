"""Files on servers: FTP, SFTP, S3 and HTTP."""
