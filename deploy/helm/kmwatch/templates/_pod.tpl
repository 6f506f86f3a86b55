{{/* The pod, the same for one instance and for two. Pod Security Standard "restricted", and a read-only root. */}}
{{- define "kmwatch.pod" -}}
metadata:
  labels:
    {{- include "kmwatch.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # Another configuration: other pods. SIGHUP would do for most of it; this does for all.
    checksum/config: {{ printf "%s%s" (include "kmwatch.config" .) (toYaml .Values.callers) | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "kmwatch.serviceAccount" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.affinity }}
  affinity:
    {{- toYaml .Values.affinity | nindent 4 }}
  {{- else if include "kmwatch.pair" . }}
  affinity:
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "kmwatch.selector" . | nindent 14 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: kmwatch
      image: {{ include "kmwatch.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [run, -c, /etc/kmwatch/kmwatch.yaml]
      {{- with .Values.extraEnv }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.credentials }}
      envFrom:
        {{- range . }}
        - secretRef: {name: {{ . | quote }}}
        {{- end }}
      {{- end }}
      ports:
        - {name: http, containerPort: {{ .Values.http.port }}}
      startupProbe:
        {{- include "kmwatch.get" (dict "context" . "path" "/healthz") | nindent 8 }}
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe:
        {{- include "kmwatch.get" (dict "context" . "path" "/healthz") | nindent 8 }}
        periodSeconds: 15
      # Of two instances one stands by: it is ready if it could take over.
      readinessProbe:
        {{- $ready := ternary "/readyz?standby=ready" "/readyz" (ne (include "kmwatch.pair" .) "") }}
        {{- include "kmwatch.get" (dict "context" . "path" $ready) | nindent 8 }}
        periodSeconds: 10
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: config, mountPath: /etc/kmwatch, readOnly: true}
        {{- if include "kmwatch.secrets" . }}
        - {name: secrets, mountPath: /run/kmwatch/secrets, readOnly: true}
        {{- end }}
        {{- range .Values.secretFiles }}
        - {name: {{ printf "secret-%s" . | trunc 63 | trimSuffix "-" }}, mountPath: {{ printf "/run/secrets/%s" . | quote }}, readOnly: true}
        {{- end }}
        - {name: tmp, mountPath: /tmp}
        {{- if not (include "kmwatch.pair" .) }}
        - {name: state, mountPath: /var/lib/kmwatch}
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    # What a configuration names by relative path stands beside it.
    - name: config
      projected:
        sources:
          - configMap: {name: {{ include "kmwatch.name" . }}}
          {{- with .Values.existingCallers }}
          - configMap: {name: {{ . | quote }}}
          {{- end }}
    {{- with include "kmwatch.secrets" . }}
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          {{- . | nindent 10 }}
    {{- end }}
    {{- range .Values.secretFiles }}
    - name: {{ printf "secret-%s" . | trunc 63 | trimSuffix "-" }}
      secret: {secretName: {{ . | quote }}, defaultMode: 0440}
    {{- end }}
    - {name: tmp, emptyDir: {sizeLimit: 64Mi}}
    {{- with (.Values.store.sqlite | default dict).existingClaim }}
    {{- if not (include "kmwatch.pair" $) }}
    - {name: state, persistentVolumeClaim: {claimName: {{ . | quote }}}}
    {{- end }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
