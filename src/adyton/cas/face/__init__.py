"""The CAS as others see it: its authority and proof, the two ports, documents, and bounds on refusals."""
