{{- define "hub.labels" -}}
app.kubernetes.io/name: data-transfer-hub
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "hub.selector" -}}
{{ include "hub.labels" . }}
app.kubernetes.io/component: hub
{{- end }}
{{- define "hub.metadata" -}}
name: {{ .Release.Name }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "hub.labels" . | nindent 2 }}
{{- end }}
{{- define "worker.selector" -}}
{{ include "hub.labels" . }}
app.kubernetes.io/component: worker
{{- end }}
{{- define "worker.metadata" -}}
name: {{ .Release.Name }}-worker
namespace: {{ .Release.Namespace }}
labels:
  {{- include "hub.labels" . | nindent 2 }}
{{- end }}

{{- /* What the pods of hubs and workers have in common. */}}
{{- define "hub.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
# Workers finish the objects in progress.
terminationGracePeriodSeconds: 60
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  # Otherwise the permissions of all files change, and the hub refuses what others can read.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* What all containers have in common. */}}
{{- define "hub.container" -}}
image: {{ printf "%s:%s" .Values.image.repository .Values.image.tag | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}
{{- define "hub.secrets" -}}
- name: DTH_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.secretName }}
      key: key
{{- if .Values.postgresql.enabled }}
- name: DTH_DATABASE
  valueFrom:
    secretKeyRef:
      name: {{ .Values.secretName }}
      key: database
{{- end }}
{{- end }}

{{- /* Stores, registries, mail, the database: everywhere but the metadata services of clouds. */}}
{{- define "hub.egress" -}}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: [169.254.0.0/16, 100.100.100.200/32]
    - ipBlock:
        cidr: ::/0
        except: ["fe80::/10", "fd00:ec2::/32"]
- to:
    - namespaceSelector: {}
  ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end }}
