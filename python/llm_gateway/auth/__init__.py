"""Who is asking: the headers of a request → `Subscriber`, or a `Fault`.

`credential` finds the credential, `authenticator` tells who it belongs to.
"""
