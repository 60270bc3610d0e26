"""The ``adyton`` command: run a network, operate its services, see the main job done."""
