{{/* Names as Helm's own charts make them: release and chart, 63 characters at most. */}}
{{- define "kmwatch.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "kmwatch.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kmwatch.labels" -}}
{{ include "kmwatch.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "kmwatch.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "kmwatch.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "kmwatch.name" .) }}
{{- end -}}

{{/* "yes", or nothing: whether the store is PostgreSQL, and so there are two instances. */}}
{{- define "kmwatch.pair" -}}
{{- if .Values.store.postgres -}}yes{{- end -}}
{{- end -}}

{{/* kmwatch.yaml: what the operator says, and what the chart knows better: where its own volumes and secrets are. */}}
{{- define "kmwatch.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := set $config "callers" "callers.yaml" -}}
{{- $http := dict "listen" (printf "0.0.0.0:%d" (int .Values.http.port)) -}}
{{- if .Values.http.tokenSecret -}}
{{- $_ := set $http "token" "file:/run/kmwatch/secrets/http-token" -}}
{{- end -}}
{{- if .Values.http.tlsSecret -}}
{{- $_ := set $http "cert" "/run/kmwatch/secrets/tls.crt" -}}
{{- $_ := set $http "key" "/run/kmwatch/secrets/tls.key" -}}
{{- end -}}
{{- $_ := set $config "http" $http -}}
{{- if include "kmwatch.pair" . -}}
{{- $postgres := pick .Values.store.postgres "url" "tls" "lease" -}}
{{- if .Values.store.postgres.passwordSecret -}}
{{- $_ := set $postgres "password" "file:/run/kmwatch/secrets/postgres-password" -}}
{{- end -}}
{{- if .Values.store.postgres.caSecret -}}
{{- $_ := set $postgres "ca" "/run/kmwatch/secrets/postgres-ca.crt" -}}
{{- end -}}
{{- $_ := set $config "store" (dict "postgres" $postgres) -}}
{{- else -}}
{{- $_ := set $config "store" (dict "sqlite" (dict "path" "/var/lib/kmwatch/kmwatch.db")) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* A probe. context, and path. */}}
{{- define "kmwatch.get" -}}
httpGet:
  path: {{ .path | quote }}
  port: http
  scheme: {{ ternary "HTTPS" "HTTP" (not (empty .context.Values.http.tlsSecret)) }}
timeoutSeconds: 5
{{- end -}}

{{/* What kmwatch.config names, from the Secrets that the values name: sources of a projected volume. */}}
{{- define "kmwatch.secrets" -}}
{{- $sources := list -}}
{{- with .Values.http.tokenSecret -}}
{{- $items := list (dict "key" .key "path" "http-token") -}}
{{- $sources = append $sources (dict "secret" (dict "name" .name "items" $items)) -}}
{{- end -}}
{{- with .Values.http.tlsSecret -}}
{{- $items := list (dict "key" "tls.crt" "path" "tls.crt") (dict "key" "tls.key" "path" "tls.key") -}}
{{- $sources = append $sources (dict "secret" (dict "name" . "items" $items)) -}}
{{- end -}}
{{- with (.Values.store.postgres | default dict).passwordSecret -}}
{{- $items := list (dict "key" .key "path" "postgres-password") -}}
{{- $sources = append $sources (dict "secret" (dict "name" .name "items" $items)) -}}
{{- end -}}
{{- with (.Values.store.postgres | default dict).caSecret -}}
{{- $items := list (dict "key" .key "path" "postgres-ca.crt") -}}
{{- $sources = append $sources (dict "secret" (dict "name" .name "items" $items)) -}}
{{- end -}}
{{- if $sources -}}{{- toYaml $sources -}}{{- end -}}
{{- end -}}
