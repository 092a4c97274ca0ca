"""Plain values that repositories, handlers and their processes exchange; none needs SQLAlchemy.

A process that runs handlers imports this package and not the tables: that is 20 MB less memory and
half the time to start.
"""
