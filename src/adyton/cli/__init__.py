"""Layer 7: the commands. ``iexec`` speaks the official grammar, ``adyton`` runs and operates, ``sconify_iexec`` builds."""
