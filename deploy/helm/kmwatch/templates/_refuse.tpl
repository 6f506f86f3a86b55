{{/* What the schema could refuse only in words of its own, or only by repeating a password. */}}
{{- define "kmwatch.refuse" -}}
{{- if hasKey .Values.config "store" -}}{{- fail "config.store: the chart writes it; use store.sqlite or store.postgres" -}}{{- end -}}
{{- if hasKey .Values.config "http" -}}{{- fail "config.http: the chart writes it; use http.port, http.tokenSecret and http.tlsSecret" -}}{{- end -}}
{{- if hasKey .Values.config "callers" -}}{{- fail "config.callers: the chart writes it; use callers or existingCallers" -}}{{- end -}}
{{- if and (eq (.Values.image.tag | default "") "latest") (not .Values.image.digest) -}}{{- fail "image.tag: latest is another image tomorrow; name a release, or a digest" -}}{{- end -}}
{{- if regexMatch "://[^/@]*:[^/@]*@|[?&]password=" ((.Values.store.postgres | default dict).url | default "") -}}{{- fail "store.postgres.url holds a password, which everybody who may read the release would see; name its Secret in store.postgres.passwordSecret" -}}{{- end -}}
{{- end -}}
