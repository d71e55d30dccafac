{{- define "hub.selector" -}}
app.kubernetes.io/name: data-transfer-hub
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "hub.metadata" -}}
name: {{ .Release.Name }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "hub.selector" . | nindent 2 }}
{{- end }}
