<?php
// A page that takes one picture: php -S 127.0.0.1:8080 upload.php
require __DIR__ . '/scan_upload.php';

$message = '';
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $upload = $_FILES['picture'] ?? ['error' => UPLOAD_ERR_NO_FILE];
    if ($upload['error'] !== UPLOAD_ERR_OK) {
        http_response_code(400);
        $message = 'Choose a file that is not too large.';
    } else {
        // `uploader` is your own id of the person: it never leaves this machine, and is kept only under a key.
        $decision = scan_upload($upload['tmp_name'], getenv('SIDECAR_SOCKET'), ['uploader' => 'user-42']);
        if ($decision['allowed']) {
            // A name of your own making: never the client's.
            move_uploaded_file($upload['tmp_name'], getenv('UPLOADS') . '/' . bin2hex(random_bytes(16)));
            $message = 'Thank you.';
        } else {
            http_response_code(422);
            $message = $decision['message'];
        }
    }
}
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Upload</title>
<p><?= htmlspecialchars($message) ?></p>
<form method="post" enctype="multipart/form-data">
  <input type="file" name="picture"> <button>Upload</button>
</form>
</html>
