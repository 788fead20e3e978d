<?php
/**
 * Ask `iii-client serve` about one uploaded file. Needs the extension curl (Debian: php-curl).
 *
 * Returns ['allowed' => bool, 'message' => string]. Whatever goes wrong, the file is not allowed: a sidecar
 * that is down, or busy, must not be a way in.
 */
function scan_upload(string $path, string $socket, array $context = []): array
{
    $request = curl_init('http://sidecar/scan');
    curl_setopt_array($request, [
        CURLOPT_UNIX_SOCKET_PATH => $socket,
        CURLOPT_POSTFIELDS => $context + ['file' => new CURLFile($path)],
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_CONNECTTIMEOUT => 2,
        CURLOPT_TIMEOUT => 30,
    ]);
    $body = curl_exec($request);
    $status = curl_getinfo($request, CURLINFO_RESPONSE_CODE);
    $decision = $status === 200 ? json_decode($body, true) : null;
    if (!is_array($decision) || !is_bool($decision['allowed'] ?? null)) {
        error_log("the sidecar did not decide (status $status)");
        return ['allowed' => false, 'message' => 'Uploads are not possible right now. Please try again later.'];
    }
    return $decision;
}
