-- What wrk found, as one line of JSON. Times of wrk are in microseconds.
function done(summary, latency, requests)
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "bytes": %d, "failed": %d, "refused": %d, "p50": %.9f, "p99": %.9f, "longest": %.9f}\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout, summary.errors.status,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6, latency.max / 1e6))
end
