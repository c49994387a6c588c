"""What a training or inference pipeline costs: time, latency, throughput, CPU, memory, energy, power, in one database."""
