"""Extensions that need no service behind them."""
