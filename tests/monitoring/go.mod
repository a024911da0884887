module monitoring

go 1.26

// Only downloaded, never built: its example/prometheus-operator-crd holds the definitions of the operator's kinds.
require github.com/prometheus-operator/prometheus-operator v0.85.0
