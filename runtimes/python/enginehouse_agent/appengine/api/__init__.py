"""The APIs that need no service behind them."""
