"""One call for an image or a clip: `segment`, `segment_everything`, `track`, and the classes behind them."""
