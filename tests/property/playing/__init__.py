"""One generated execution of the machine, played by hand: what is drawn, who plays it, and what must hold."""
