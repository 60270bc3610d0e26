"""Layer 6: what the ``iexec`` command does, without printing.

Values in, values out: files of a project (:mod:`files`, :mod:`config`), wallets, resources on chain, orders, deals,
tasks, results, secrets. Everything that talks to a network takes a :class:`adyton.sdk.session.Session`.
"""
