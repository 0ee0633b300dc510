"""Company directories that say who somebody is: OpenID Connect providers and LDAP servers.

Protocols only: nothing here reads or writes the database. `configuration` is what an operator sets, `claims`
is what comes out whichever protocol was spoken, `oidc` and `ldap` are the two ways to ask.
"""
