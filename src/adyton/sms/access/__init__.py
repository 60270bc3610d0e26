"""Who may do what: what is signed, who signed it, and the rules of authorization."""
