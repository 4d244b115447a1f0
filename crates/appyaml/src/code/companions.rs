//! dispatch.yaml, cron.yaml, queue.yaml, index.yaml and dos.yaml.

super::codes! {
    A0601 Error "a dispatch url of the wrong form"
    what "The `url` of a rule is a host and a path, without scheme: `*/mobile/*`, `shop.example.com/`, `*.example.com/api/*`. The host may begin \
          with `*`, the path may end with `*`."
    why "It could never match a request."
    => "dispatch.yaml" "dispatch:\n- url: /mobile/*\n  service: mobile\n"

    A0602 Error "a dispatch host that is an address"
    what "The host of a rule is an IPv4 address."
    why "Apps are reached by name."
    => "dispatch.yaml" "dispatch:\n- url: \"127.0.0.1/*\"\n  service: mobile\n"

    A0603 Warning "a dispatch rule for a service that is not here"
    what "No service of that name is given."
    why "Its requests go to the default service instead."

    A0604 Warning "a dispatch rule that is never reached"
    what "An earlier rule matches whatever this one matches."
    why "The first rule that matches wins."
    => "dispatch.yaml" "dispatch:\n- url: \"*/*\"\n  service: a\n- url: \"*/x\"\n  service: b\n"

    A0605 Warning "more than 20 dispatch rules"
    what "The file has more than 20 rules."
    why "They work here, but Google's App Engine takes 20."

    A0701 Error "a schedule that cannot be read"
    what "A schedule is `every N minutes`, `every N hours` (with `synchronized` or `from HH:MM to HH:MM`), or days and a time: `every monday 09:00`, \
          `1st,third tue of sep,oct 17:00`, `1,15 of month 03:30`. Lower case only."
    why "The job would never run."
    => "cron.yaml" "cron:\n- url: /t\n  schedule: every 5 minute\n"

    A0702 Error "an unknown time zone"
    what "`timezone` is a name of the IANA database, such as `Europe/Berlin`."
    why "The times of the schedule would mean nothing."
    => "cron.yaml" "cron:\n- url: /t\n  schedule: every day 09:00\n  timezone: Mars/Base\n"

    A0801 Error "two queues of one name"
    what "The name of a queue appears twice."
    why "Tasks are added by the name of their queue."
    => "queue.yaml" "queue:\n- name: a\n  rate: 1/s\n- name: a\n  rate: 2/s\n"

    A0802 Error "a push setting on a pull queue"
    what "`rate`, `bucket_size`, `max_concurrent_requests`, `target` and backoff settings say how tasks are sent; a pull queue sends none."
    why "The setting would have no effect."
    => "queue.yaml" "queue:\n- name: p\n  mode: pull\n  rate: 1/s\n"

    A0901 Warning "an index named twice"
    what "The same kind, ancestor and properties appear twice."
    why "One of them is enough."
    => "index.yaml" "indexes:\n- kind: A\n  properties:\n  - name: x\n- kind: A\n  properties:\n  - name: x\n"

    A0902 Error "a direction in a geospatial index"
    what "A property has a `direction` in an index with a `mode: geospatial`."
    why "Such an index has no order."
    => "index.yaml" "indexes:\n- kind: A\n  properties:\n  - name: x\n    mode: geospatial\n  - name: y\n    direction: desc\n"

    A0903 Error "not a subnet"
    what "`subnet` is an IPv4 or IPv6 address, or such an address with a prefix length: `192.0.2.0/24`, `2001:db8::/32`."
    why "Nobody would be turned away."
    => "dos.yaml" "blacklist:\n- subnet: 192.0.2.256\n"
}
