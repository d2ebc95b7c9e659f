"""SOAP services: what a WSDL declares, calls that are guarded, and answers as rows."""
