<?php

declare(strict_types=1);

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);

if ($path !== '/') {
    http_response_code(404);
    header('Content-Type: text/plain');
    echo "There is no such page.\n";
    return;
}

$name = $_GET['name'] ?? 'World';
error_log("greeting $name");
header('Content-Type: text/html; charset=utf-8');
?>
<!doctype html>
<title>Hello from PHP</title>
<link rel="stylesheet" href="/static/style.css">
<p>Hello, <?= htmlspecialchars($name) ?>! This is <?= htmlspecialchars(getenv('GAE_SERVICE')) ?> on PHP <?= PHP_VERSION ?>.</p>
