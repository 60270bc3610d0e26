"""Layer 7: the commands. ``iexec`` speaks the official grammar, ``adyton`` operates, ``sconify_iexec`` builds."""
