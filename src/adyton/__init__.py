"""Adyton: confidential computing over an iExec-compatible marketplace.

The rooms, in the order of their layers (a room imports only lower layers; within a layer only another
room's ``client`` or ``wire``): ``base``, ``web`` · ``chain``, ``content``, ``attestation``, ``runner`` ·
``enclave`` · ``platform`` · ``cas``, ``sms``, ``market``, ``results``, ``runtime`` · ``compute``,
``workerpool`` · ``sdk``, ``devnet`` · ``cli``.
"""

__version__ = "0.1.0"
