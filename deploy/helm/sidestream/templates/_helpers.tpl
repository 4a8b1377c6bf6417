{{- define "sidestream.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "sidestream.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sidestream.labels" -}}
{{ include "sidestream.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* The names of the Service that the application publishes to. */}}
{{- define "sidestream.hosts" -}}
{{- $service := printf "%s-internal" (include "sidestream.name" .) -}}
{{- $namespaced := printf "%s.%s" $service .Release.Namespace -}}
{{- $names := list $service $namespaced (printf "%s.svc" $namespaced) (printf "%s.svc.cluster.local" $namespaced) -}}
{{- concat $names .Values.internal.hosts | join "," -}}
{{- end }}

{{/* How long the whole pod may take to stop. */}}
{{- define "sidestream.grace" -}}
{{- $drain := .Values.drain -}}
{{- if eq .Values.shape "sidecar" -}}
{{- /* One after the other: the endpoints' removal is waited for, the application stops, sidestream drains. */ -}}
{{- add $drain.delay .Values.app.stop $drain.deadline $drain.margin -}}
{{- else -}}
{{- add $drain.delay $drain.deadline $drain.margin -}}
{{- end -}}
{{- end }}

{{/* sidestream's container. */}}
{{- define "sidestream.container" -}}
name: sidestream
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- if eq .Values.shape "sidecar" }}
# Goes on beside the application, starts before it and stops after it.
restartPolicy: Always
{{- end }}
args: ["serve", "--config", "/etc/sidestream/sidestream.toml"]
env:
  - name: SIDESTREAM_PUBLIC_LISTEN
    value: "0.0.0.0:8080"
  - name: SIDESTREAM_INTERNAL_LISTEN
    value: {{ printf "0.0.0.0:%d" (int .Values.internal.port) | quote }}
  - name: SIDESTREAM_INTERNAL_HOSTS
    value: {{ include "sidestream.hosts" . | quote }}
  {{- if eq .Values.shape "sidecar" }}
  - name: SIDESTREAM_PUBLIC_BACKEND
    value: {{ printf "http://127.0.0.1:%d" (int .Values.app.port) | quote }}
  {{- end }}
  - name: SIDESTREAM_DRAIN_DELAY
    value: {{ if eq .Values.shape "sidecar" }}"0s"{{ else }}{{ printf "%ds" (int .Values.drain.delay) | quote }}{{ end }}
  - name: SIDESTREAM_DRAIN_WINDOW
    value: {{ printf "%ds" (int .Values.drain.window) | quote }}
  - name: SIDESTREAM_DRAIN_DEADLINE
    value: {{ printf "%ds" (int .Values.drain.deadline) | quote }}
  - name: SIDESTREAM_INSTANCE_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  {{- with .Values.secret.publishKeys }}
  - name: SIDESTREAM_INTERNAL_PUBLISH_KEYS_FILE
    value: {{ printf "/etc/sidestream/secret/%s" . | quote }}
  {{- end }}
  {{- with .Values.secret.redisPassword }}
  - name: SIDESTREAM_REDIS_PASSWORD_FILE
    value: {{ printf "/etc/sidestream/secret/%s" . | quote }}
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - name: public
    containerPort: 8080
  - name: internal
    containerPort: {{ .Values.internal.port }}
startupProbe:
  httpGet: {path: /healthz, port: internal}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: internal}
  periodSeconds: 10
  timeoutSeconds: 3
# Not /readyz/events, which is 503 on every pod while Redis is away.
readinessProbe:
  httpGet: {path: /readyz, port: internal}
  periodSeconds: 2
  timeoutSeconds: 2
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: config
    mountPath: /etc/sidestream/sidestream.toml
    subPath: sidestream.toml
    readOnly: true
  {{- if .Values.secret.name }}
  - name: secret
    mountPath: /etc/sidestream/secret
    readOnly: true
  {{- end }}
{{- end }}
