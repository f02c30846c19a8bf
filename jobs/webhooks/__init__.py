"""Delivering events to the endpoints of other systems: what is due, in which order, and when to try again.

Charter: an event is a row before it is a request; this package makes no events. HTTP and signatures are in
:mod:`reconciler.webhooks`, which ``app.webhooks`` passes in. It imports ports and the domain.
"""
