/* The function's own modules, which a build put in: an array of

       the main one's path, the bytes of the stack that the function will have, the names of the handlers, the names of
       the host functions, [path, text] of each file

   in MessagePack; the texts are bytes with a NUL at their end, so that they are read where they are. */

typedef struct {
    const char *main;
    uint32_t main_length, stack, handler_count, file_count;
    Reader handlers, files; /* at the first one */
} Sources;

static Sources sources;

/* While a build looks at sources: which files and host functions they came to. */
static Writer *found_files, *found_host_functions;
static uint32_t found_file_count, found_host_function_count;

static const char PRELUDE[] = {
#embed "prelude.js"
    , 0};
static const char PRELUDE_NAME[] = "wasmrun", NATIVE_NAME[] = "wasmrun:native", HOST[] = "host:";

static bool starts_with(const char *text, const char *start) { return !strncmp(text, start, strlen(start)); }

static bool read_text(Reader *from, const char **text, uint32_t *length) {
    Head head = read_head(from);
    if (head.kind != TEXT && head.kind != BYTES) return false;
    *text = (const char *)from->at;
    *length = (uint32_t)head.bits;
    from->at += head.bits;
    return true;
}

static bool read_count(Reader *from, uint32_t *count) {
    Head head = read_head(from);
    *count = (uint32_t)head.bits;
    return head.kind == ARRAY;
}

/* Whether these are sources; what is read of them stays where it is. */
static bool read_sources(Reader *from) {
    const char *text;
    uint32_t count, length;
    memset(&sources, 0, sizeof sources);
    if (!read_count(from, &count) || count != 5 || !read_text(from, &sources.main, &sources.main_length)) return false;
    sources.stack = (uint32_t)read_head(from).bits;
    if (!read_count(from, &sources.handler_count)) return false;
    sources.handlers = *from;
    for (uint32_t i = 0; i < sources.handler_count; i++) {
        if (!read_text(from, &text, &length)) return false;
    }
    if (!read_count(from, &host_function_count) || host_function_count > countof(host_functions)) return false;
    for (uint32_t i = 0; i < host_function_count; i++) {
        if (!read_text(from, &host_functions[i].name, &host_functions[i].length)) return false;
    }
    if (!read_count(from, &sources.file_count)) return false;
    sources.files = *from;
    for (uint32_t i = 0; i < sources.file_count; i++) {
        if (!read_count(from, &count) || count != 2 || !read_text(from, &text, &length) || !read_text(from, &text, &length)) return false;
        if (!length || text[length - 1]) return false;
    }
    return true;
}

/* The text of a file, and how long it is without its NUL; nothing where there is no such file. */
static const char *find_file(const char *path, uint32_t *length) {
    Reader from = sources.files;
    for (uint32_t i = 0; i < sources.file_count; i++) {
        const char *name, *text;
        uint32_t name_length, count;
        read_count(&from, &count);
        read_text(&from, &name, &name_length);
        read_text(&from, &text, length);
        --*length;
        if (strlen(path) == name_length && !memcmp(path, name, name_length)) return text;
    }
    return NULL;
}

static char *normalize(JSContext *ctx, const char *base, const char *name, void *opaque) {
    const char *slash = strrchr(base, '/');
    size_t length = slash && name[0] == '.' ? (size_t)(slash - base) + 1 : 0, size = length + strlen(name) + 1;
    char *path, *to;
    (void)opaque;
    if (!strcmp(name, NATIVE_NAME) && strcmp(base, PRELUDE_NAME)) {
        JS_ThrowReferenceError(ctx, "there is no module '%s'", name);
        return NULL;
    }
    path = js_malloc(ctx, size);
    if (!path) return NULL;
    memcpy(path, base, length);
    memcpy(path + length, name, size - length);
    if (name[0] != '.') return path;
    /* Part by part, in place: nothing gets longer. */
    to = path;
    for (const char *part = path; *part;) {
        size_t part_length = strcspn(part, "/");
        const char *next = part + part_length + (part[part_length] == '/');
        if (part_length == 2 && part[0] == '.' && part[1] == '.') {
            if (to == path) {
                JS_ThrowReferenceError(ctx, "'%s', imported by '%s', is outside of the project", name, base);
                js_free(ctx, path);
                return NULL;
            }
            for (to--; to > path && to[-1] != '/'; to--) {}
        } else if (part_length && !(part_length == 1 && part[0] == '.')) {
            size_t whole = (size_t)(next - part);
            memmove(to, part, whole);
            to += whole;
        }
        part = next;
    }
    *to = 0;
    return path;
}

static JSValue host_function(JSContext *ctx, JSValueConst this_value, int count, JSValueConst *arguments, int magic, JSValueConst *data) {
    (void)this_value, (void)magic;
    return call_host(ctx, data[0], count ? arguments[0] : JS_UNDEFINED);
}

static int init_host_function(JSContext *ctx, JSModuleDef *module) {
    JSAtom atom = JS_GetModuleName(ctx, module);
    const char *text = JS_AtomToCString(ctx, atom);
    JSValue name, function;
    JS_FreeAtom(ctx, atom);
    if (!text) return -1;
    name = JS_NewString(ctx, text + strlen(HOST));
    JS_FreeCString(ctx, text);
    if (JS_IsException(name)) return -1;
    function = JS_NewCFunctionData(ctx, host_function, 1, 0, 1, (JSValueConst *)&name);
    JS_FreeValue(ctx, name);
    return JS_IsException(function) ? -1 : JS_SetModuleExport(ctx, module, "default", function);
}

static void note_host_function(JSContext *ctx, const char *name) {
    if (!found_host_functions || write_text(ctx, found_host_functions, name) < 0) return;
    found_host_function_count++;
}

static JSModuleDef *compile(JSContext *ctx, const char *name, const char *text, size_t length) {
    JSValue module = JS_Eval(ctx, text, length, name, JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
    if (JS_IsException(module)) return NULL;
    JS_FreeValue(ctx, module); /* the context has it */
    return JS_VALUE_GET_PTR(module);
}

static int init_json(JSContext *ctx, JSModuleDef *module) {
    return JS_SetModuleExport(ctx, module, "default", JS_GetModulePrivateValue(ctx, module));
}

static JSModuleDef *load_json(JSContext *ctx, const char *name, const char *text, uint32_t length) {
    JSValue value = JS_ParseJSON(ctx, text, length, name);
    JSModuleDef *module;
    if (JS_IsException(value)) return NULL;
    module = JS_NewCModule(ctx, name, init_json);
    if (!module) {
        JS_FreeValue(ctx, value);
        return NULL;
    }
    JS_AddModuleExport(ctx, module, "default");
    JS_SetModulePrivateValue(ctx, module, value);
    return module;
}

static JSModuleDef *load(JSContext *ctx, const char *name, void *opaque, JSValueConst attributes) {
    JSModuleDef *module;
    const char *text, *ending = strrchr(name, '.');
    uint32_t length;
    (void)opaque, (void)attributes;
    if (!strcmp(name, NATIVE_NAME)) {
        module = JS_NewCModule(ctx, name, init_natives);
        if (module) JS_AddModuleExportList(ctx, module, NATIVES, countof(NATIVES));
        return module;
    }
    if (starts_with(name, HOST) && name[strlen(HOST)]) {
        note_host_function(ctx, name + strlen(HOST));
        module = JS_NewCModule(ctx, name, init_host_function);
        if (module) JS_AddModuleExport(ctx, module, "default");
        return module;
    }
    text = find_file(name, &length);
    if (!text) {
        JS_ThrowReferenceError(ctx, "there is no module '%s'; files of the project are named by relative paths, such as './%s'", name, name);
        return NULL;
    }
    if (found_files && write_text(ctx, found_files, name) == 0) found_file_count++;
    if (ending && !strcmp(ending, ".json")) return load_json(ctx, name, text, length);
    return compile(ctx, name, text, length);
}

/* Whether a module takes `http` from the prelude, by name or with everything. */
static bool takes_http(JSContext *ctx, JSModuleDef *module) {
    JSAtom http = JS_NewAtom(ctx, "http");
    bool is_it = false;
    for (int i = 0; i < module->import_entries_count; i++) {
        JSImportEntry *entry = &module->import_entries[i];
        const char *from = JS_AtomToCString(ctx, module->req_module_entries[entry->req_module_idx].module_name);
        is_it |= from && !strcmp(from, PRELUDE_NAME) && (entry->import_name == http || entry->import_name == JS_ATOM__star_);
        JS_FreeCString(ctx, from);
    }
    JS_FreeAtom(ctx, http);
    return is_it;
}
