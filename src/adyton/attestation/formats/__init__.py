"""Byte layouts of evidence: SGX and TDX structures, quotes, report data, DER. Parsed and built, never judged."""
