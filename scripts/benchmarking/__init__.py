"""What the benchmarks of this directory share: measuring, processes of their own, the peers, the page."""
