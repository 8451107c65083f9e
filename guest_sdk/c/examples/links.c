/* Checks links: {"urls": ["https://..."]} gives for each, in order, {"url", "status", "bytes"}, or {"url", "error"}. It needs the hosts
 * granted: wasmrun run links.wasm --http example.org --http '*.example.org' --event '{"urls": ["https://example.org"]}' */
#include "../wasmrun.h"

static void check(wasmrun_bytes url, wasmrun_writer *answer) {
    wasmrun_bytes none = {NULL, 0}, type = wasmrun_text("NoReply");
    wasmrun_http_response response;
    int status = wasmrun_http("GET", url, NULL, none, &response);
    wasmrun_write_map(answer, status == WASMRUN_REPLIED ? 3 : 2);
    wasmrun_write_text(answer, "url");
    wasmrun_write_str(answer, url.data, url.length);
    if (status == WASMRUN_REPLIED) {
        wasmrun_write_text(answer, "status");
        wasmrun_write_int(answer, response.status);
        wasmrun_write_text(answer, "bytes");
        wasmrun_write_uint(answer, response.body.length);
    } else {
        if (status == WASMRUN_REFUSED) wasmrun_get_str(&response.error, "type", &type);
        wasmrun_write_text(answer, "error");
        wasmrun_write_str(answer, type.data, type.length);
    }
}

WASMRUN_HANDLER(wasmrun_handle) {
    wasmrun_reader urls;
    wasmrun_bytes url;
    size_t count;
    if (!wasmrun_get(event, "urls", &urls) || !wasmrun_read_array(&urls, &count))
        return wasmrun_fail(answer, "InvalidEvent", "the event needs an array \"urls\"");
    wasmrun_write_array(answer, count);
    for (; count != 0; count--) {
        if (!wasmrun_read_str(&urls, &url)) return wasmrun_fail(answer, "InvalidEvent", "a URL is a string");
        check(url, answer);
    }
    return 0;
}
