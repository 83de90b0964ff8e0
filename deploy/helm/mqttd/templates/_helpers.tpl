{{- define "mqttd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "mqttd.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "mqttd.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "mqttd.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "mqttd.selector" -}}
app.kubernetes.io/name: {{ include "mqttd.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end }}

{{- define "mqttd.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "mqttd.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: mqttd
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "mqttd.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "mqttd.fullname" .) .Values.serviceAccount.name }}{{ else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "mqttd.tlsSecret" -}}
{{- if .Values.tls.existingSecret }}{{ .Values.tls.existingSecret }}{{ else if .Values.tls.certManager.enabled }}{{ include "mqttd.fullname" . }}-tls{{ end }}
{{- end }}

{{- define "mqttd.needsTls" -}}
{{- if or .Values.listeners.tls.enabled .Values.listeners.secureWebsocket.enabled .Values.listeners.quic.enabled }}true{{ end }}
{{- end }}

{{- define "mqttd.replicas" -}}
{{- if kindIs "invalid" .Values.replicas }}{{ if .Values.redis.url }}3{{ else }}1{{ end }}{{ else }}{{ .Values.replicas }}{{ end }}
{{- end }}

{{/* What cannot work is said before anything is installed. */}}
{{- define "mqttd.check" -}}
{{- if and (not .Values.redis.url) (or (gt (int (include "mqttd.replicas" .)) 1) .Values.autoscaling.enabled) }}
{{- fail "More than one node needs a Redis that they share: set redis.url, or replicas to 1 for one node with the embedded store" }}
{{- end }}
{{- if and (include "mqttd.needsTls" .) (not (include "mqttd.tlsSecret" .)) }}
{{- fail "TLS, secure WebSocket and QUIC need a certificate: set tls.existingSecret, or tls.certManager.enabled" }}
{{- end }}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) }}
{{- fail "gateway.enabled needs gateway.parentRefs: the Gateway that the routes hang on" }}
{{- end }}
{{- end }}

{{/* A value as TOML writes it. */}}
{{- define "mqttd.toml" -}}
{{- if kindIs "string" . }}{{ . | quote }}{{ else if kindIs "float64" . }}{{ int64 . }}{{ else if kindIs "slice" . }}[{{ range $i, $item := . }}{{ if $i }}, {{ end }}{{ include "mqttd.toml" $item }}{{ end }}]{{ else }}{{ . }}{{ end }}
{{- end }}
