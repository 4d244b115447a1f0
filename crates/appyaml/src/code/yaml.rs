//! Files and YAML.

super::codes! {
    A0001 Error "a file cannot be read"
    what "The file does not exist, is a folder, or may not be opened."
    why "Nothing is known about a service whose file cannot be read."

    A0002 Error "the file is not UTF-8 text"
    what "The bytes are not valid UTF-8. UTF-16, which some editors call \"Unicode\", is recognised by its byte order mark and named."
    why "The SDK reads configuration files as UTF-8; guessing another encoding would silently change names and patterns."

    A0003 Error "the file is too large or nested too deeply"
    what "Configuration files may have 1 MiB and nest 64 levels."
    why "Real files stay far below. The bound keeps a hostile file from using up memory or the stack."

    A0004 Error "YAML syntax error"
    what "The text is not YAML. What follows the place shown was not read, so further mistakes may appear once it is mended."
    why "YAML gives structure by indentation and punctuation; a frequent cause is a tab, a missing space after `:`, or an unquoted value that \
         begins with `*`, `&`, `%`, `@` or a backquote."
    => "app.yaml" "runtime: python27\nhandlers:\n\t- url: /\n"

    A0005 Error "several documents in one file"
    what "A `---` line begins a second document."
    why "Each service has one file of its own; the SDK refuses files with several (MultipleConfigurationFile)."
    => "app.yaml" "runtime: python312\n---\nruntime: python312\n"

    A0006 Error "the file is empty"
    what "The file holds nothing, or only comments."
    why "A service needs at least a `runtime`."
    => "app.yaml" "# nothing yet\n"

    A0007 Error "anchors and aliases are not allowed"
    what "`&name` and `*name` are YAML's way to repeat a part of a file; App Engine's files do not have them."
    why "The SDK refuses both. If a value really begins with `*` or `&`, put it in quotes."
    => "app.yaml" "runtime: python312\nenv_variables: &vars\n  A: b\n"

    A0008 Error "tags are not allowed"
    what "`!name` before a value is a YAML tag. Only `!!str` means something here."
    why "The SDK knows no tags in configuration files. If a value really begins with `!`, put it in quotes."
    => "app.yaml" "runtime: !custom python312\n"

    A0009 Error "duplicate key"
    what "A key appears twice in one mapping."
    why "Only one of the two could count, and which one is not to be guessed."
    => "app.yaml" "runtime: python312\nruntime: python311\n"

    A0010 Error "the file has the wrong shape"
    what "The document is not a mapping of keys to values."
    why "The SDK reads such a file as an empty configuration without a word, so that nothing of it takes effect."
    => "app.yaml" "- runtime: python312\n"

    A0011 Error "unknown key"
    what "The key is not one that this place knows. If a known key looks like it, it is suggested."
    why "A misspelt key would otherwise be ignored and its setting silently not apply."
    => "app.yaml" "runtime: python312\nentry_point: gunicorn main:app\n"

    A0012 Error "wrong type of value"
    what "A list, a mapping or a single value stands where another of the three is needed."
    why "The value cannot be read."
    => "app.yaml" "runtime: python312\ninbound_services: warmup\n"

    A0013 Error "a required key is missing"
    what "The mapping lacks a key that it must have."
    why "There is no default for it."
    => "app.yaml" "service: api\n"

    A0014 Error "not one of the allowed values"
    what "The key takes one of a few words or numbers, and this is none of them."
    why "The SDK refuses it as well."
    => "app.yaml" "runtime: python312\nauto_id_policy: legasy\n"

    A0015 Error "malformed value"
    what "The value does not follow the form that its key asks for."
    why "The SDK refuses it as well."
    => "app.yaml" "runtime: python312\ndefault_expiration: 4d5h\n"

    A0016 Error "value out of range"
    what "The number is smaller or larger than the documents allow."
    why "The SDK accepts some of these at first, but production refuses them."
    => "app.yaml" "runtime: python312\nautomatic_scaling:\n  max_concurrent_requests: 100\n"

    A0017 Warning "a value reads differently from how it is written"
    what "YAML 1.1 reads unquoted `on`, `yes`, `0755`, `1:30`, `1.10` and the like as booleans and numbers, so that the app sees `True`, `493`, \
          `90`, `1.1`."
    why "App Engine has always done so, and we do the same; but it is rarely what was meant. Quotes keep the text as written."
    => "app.yaml" "runtime: python312\nenv_variables:\n  MODE: 0755\n"

    A0018 Error "two keys exclude each other"
    what "Both spellings of one setting are present, such as `service` and `module`."
    why "Only one of them could count."
    => "app.yaml" "runtime: python312\nservice: default\nmodule: default\n"

    A0019 Warning "a key without effect"
    what "The key is accepted because App Engine accepts it, but nothing here acts on it."
    why "So that nobody waits for an effect that does not come."
    => "app.yaml" "runtime: python312\nmain: ./cmd\n"

    A0020 Warning "more mistakes than are shown"
    what "At most 500 errors and 500 warnings are shown."
    why "Mending the first ones usually mends many others."
}
