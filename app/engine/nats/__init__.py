"""The engine on NATS JetStream: the web keeps a ``NatsEngine``, and ``NatsWorker`` processes execute the jobs.

The broker holds everything that both sides must agree on, in the streams and subjects of ``subjects``.
"""
