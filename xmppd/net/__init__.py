"""The only room, with `_fast.conn`, that touches sockets: listeners, their options, and the sessions behind them."""
