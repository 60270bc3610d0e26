"""The main job: three owners and a requester, with wallets of their own, play a confidential task."""
