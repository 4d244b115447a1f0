//! Caching of responses: Set-Cookie, missing Cache-Control, signed-in admins (rows H17, H18, H23).
