//! The Kubernetes examples: fields that Kubernetes has, pods under the restricted Pod Security Standard, configurations that
//! are fine, and ports, folders and commands that are those of the image and of the configuration.

mod support;

use plustwo::config::{Configuration, Surroundings, load};
use saphyr::{LoadableYamlNode as _, Yaml};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use support::binary::{Program, free_port, outcome, plustwo};
use support::need_tool;

const EXAMPLES: [&str; 3] = ["sidecar", "node-local", "monitoring"];

/// A file of the project.
fn read(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn as_json(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Mapping(mapping) => {
            let entry = |(key, value): (&Yaml<'_>, &Yaml<'_>)| {
                (key.as_str().expect("keys of objects are strings").to_owned(), as_json(value))
            };
            Value::Object(mapping.iter().map(entry).collect::<Map<_, _>>())
        }
        Yaml::Sequence(items) => Value::Array(items.iter().map(as_json).collect()),
        other => other
            .as_str()
            .map(|text| json!(text))
            .or_else(|| other.as_bool().map(|truth| json!(truth)))
            .or_else(|| other.as_integer().map(|number| json!(number)))
            .unwrap_or_else(|| panic!("{other:?} is nothing that these objects have")),
    }
}

/// The objects of an example.
fn objects(name: &str) -> Vec<Value> {
    let text = read(&format!("packaging/kubernetes/{name}.yaml"));
    let documents = Yaml::load_from_str(&text).unwrap_or_else(|error| panic!("{name}.yaml: {error}"));
    documents.iter().map(as_json).collect()
}

/// The object of a kind, of which there is one.
fn object(name: &str, kind: &str) -> Value {
    let mut found = objects(name).into_iter().filter(|object| object["kind"] == kind);
    let object = found.next().unwrap_or_else(|| panic!("{name}.yaml has no {kind}"));
    assert!(found.next().is_none(), "{name}.yaml has two of {kind}");
    object
}

/// The pod that an example starts.
fn pod(name: &str) -> Value {
    let kind = if name == "sidecar" { "Deployment" } else { "DaemonSet" };
    object(name, kind)["spec"]["template"].clone()
}

/// The containers of a pod, those that are begun first before the others.
fn containers(pod: &Value) -> Vec<&Value> {
    let of = |key: &str| pod["spec"][key].as_array().map(Vec::as_slice).unwrap_or_default();
    of("initContainers").iter().chain(of("containers")).collect()
}

fn container<'p>(pod: &'p Value, name: &str) -> &'p Value {
    containers(pod).into_iter().find(|container| container["name"] == name).expect("it is there")
}

/// The configuration that an example mounts; it must be fine, without a warning.
fn configuration(name: &str) -> Configuration {
    let map = object(name, "ConfigMap");
    let surroundings = Surroundings {
        read_file: &|path| Err(format!("{path}: it names no further file")),
        system_nameservers: &|| Ok(vec![Ipv4Addr::new(192, 0, 2, 53).into()]),
        is_own_address: &|_| false,
    };
    let loaded = load("plustwo.toml", map["data"]["plustwo.toml"].as_str().expect("text"), &surroundings);
    assert!(loaded.diagnostics.is_empty(), "{name}: {:#?}", loaded.diagnostics);
    loaded.configuration.expect("it is fine")
}

/// What each object may have, of what Kubernetes 1.30 has there: where, and the fields. `*` is a map of the user's. Lists are
/// seen through; `container` stands for what is in both lists of containers, `probe` for the three of them.
const FIELDS: [(&str, &str); 40] = [
    ("", "apiVersion kind metadata spec data"),
    ("metadata", "name namespace labels"),
    ("metadata.labels", "*"),
    ("data", "*"),
    ("spec", "replicas selector template updateStrategy clusterIP internalTrafficPolicy ports podMetricsEndpoints"),
    ("spec.podMetricsEndpoints", "port path interval"),
    ("spec.selector", "matchLabels app.kubernetes.io/name"),
    ("spec.selector.matchLabels", "*"),
    ("spec.updateStrategy", "rollingUpdate"),
    ("spec.updateStrategy.rollingUpdate", "maxUnavailable maxSurge"),
    ("spec.ports", "name port targetPort protocol"),
    ("spec.template", "metadata spec"),
    ("spec.template.metadata", "labels annotations"),
    ("spec.template.metadata.labels", "*"),
    ("spec.template.metadata.annotations", "*"),
    (
        "spec.template.spec",
        "priorityClassName automountServiceAccountToken dnsPolicy dnsConfig tolerations terminationGracePeriodSeconds \
         securityContext initContainers containers volumes",
    ),
    ("spec.template.spec.dnsConfig", "nameservers searches options"),
    ("spec.template.spec.dnsConfig.options", "name value"),
    ("spec.template.spec.tolerations", "key operator value effect"),
    ("spec.template.spec.securityContext", "runAsNonRoot runAsUser runAsGroup fsGroup seccompProfile sysctls"),
    ("spec.template.spec.securityContext.seccompProfile", "type"),
    ("spec.template.spec.securityContext.sysctls", "name value"),
    ("spec.template.spec.volumes", "name configMap emptyDir"),
    ("spec.template.spec.volumes.configMap", "name items"),
    ("spec.template.spec.volumes.configMap.items", "key path"),
    ("spec.template.spec.volumes.emptyDir", "medium sizeLimit"),
    (
        "container",
        "name image restartPolicy ports startupProbe readinessProbe livenessProbe resources securityContext volumeMounts",
    ),
    ("container.ports", "name containerPort protocol"),
    ("container.probe", "exec periodSeconds timeoutSeconds failureThreshold"),
    ("container.probe.exec", "command"),
    ("container.resources", "requests limits"),
    ("container.resources.requests", "cpu memory"),
    ("container.resources.limits", "cpu memory"),
    ("container.securityContext", "runAsUser runAsGroup allowPrivilegeEscalation readOnlyRootFilesystem capabilities"),
    ("container.securityContext.capabilities", "drop"),
    ("container.volumeMounts", "name mountPath readOnly"),
    // Required wherever they may stand.
    ("required:container", "name image"),
    ("required:container.ports", "containerPort protocol"),
    ("required:container.volumeMounts", "name mountPath"),
    ("required:spec.ports", "name port targetPort protocol"),
];

fn fields_of(place: &str) -> Option<BTreeSet<&'static str>> {
    FIELDS.iter().find(|(at, _)| *at == place).map(|(_, fields)| fields.split_whitespace().collect())
}

fn check_fields(file: &str, place: &str, value: &Value) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| check_fields(file, place, item)),
        Value::Object(object) => {
            let known = fields_of(place).unwrap_or_else(|| panic!("{file}: nothing is known of {place}"));
            if known.contains("*") {
                assert!(object.values().all(Value::is_string), "{file}: {place} maps strings to strings");
                return;
            }
            for (key, below) in object {
                assert!(known.contains(&**key), "{file}: {place} has no {key}");
                let place = match (place, &**key) {
                    ("spec.template.spec", "containers" | "initContainers") => "container".to_owned(),
                    ("container", "startupProbe" | "readinessProbe" | "livenessProbe") => "container.probe".to_owned(),
                    ("", _) => key.clone(),
                    _ => format!("{place}.{key}"),
                };
                check_fields(file, &place, below);
            }
            for required in fields_of(&format!("required:{place}")).unwrap_or_default() {
                assert!(object.contains_key(required), "{file}: {place} wants {required}");
            }
        }
        _ => {}
    }
}

#[test]
fn every_field_is_one_that_kubernetes_has() {
    let mut kinds = Vec::new();
    for name in EXAMPLES {
        for object in objects(name) {
            check_fields(name, "", &object);
            let (version, kind) =
                (object["apiVersion"].as_str().expect("text"), object["kind"].as_str().expect("text"));
            kinds.push(format!("{version}/{kind}"));
        }
    }
    assert_eq!(
        kinds,
        [
            "v1/ConfigMap",
            "apps/v1/Deployment",
            "v1/ConfigMap",
            "apps/v1/DaemonSet",
            "v1/Service",
            "monitoring.coreos.com/v1/PodMonitor"
        ]
    );
}

#[test]
fn the_readme_names_the_examples() {
    let readme = read("packaging/kubernetes/README.md");
    let folder =
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/kubernetes")).expect("a folder");
    let names = folder.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    let names: BTreeSet<String> = names.filter(|name| name != "README.md").collect();
    assert_eq!(names, EXAMPLES.iter().map(|name| format!("{name}.yaml")).collect());
    assert!(names.iter().all(|name| readme.contains(&format!("| `{name}` |"))), "{names:?}");
}

#[test]
fn pods_keep_to_the_restricted_standard() {
    for name in ["sidecar", "node-local"] {
        let pod = pod(name);
        let context = &pod["spec"]["securityContext"];
        assert_eq!(context["runAsNonRoot"], true, "{name}");
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        for sysctl in context["sysctls"].as_array().unwrap_or(&Vec::new()) {
            assert_eq!(sysctl["name"], "net.ipv4.ip_unprivileged_port_start", "{name}: a sysctl that is not safe");
        }
        for container in containers(&pod) {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}: {container}");
            assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{name}: {container}");
            if container["name"] != "shop" {
                assert_eq!(context["readOnlyRootFilesystem"], true, "{name}: {container}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{name}: {container}");
            }
        }
    }
}

#[test]
fn folders_users_and_commands_are_those_of_the_image() {
    let containerfile = read("packaging/Containerfile");
    for name in ["sidecar", "node-local"] {
        let pod = pod(name);
        let context = &pod["spec"]["securityContext"];
        let user = format!("USER {}:{}\n", context["runAsUser"], context["runAsGroup"]);
        assert!(containerfile.contains(&user), "{name}: {user}");
        assert_eq!(context["fsGroup"], context["runAsGroup"], "{name}: folders are not its own");
        let volumes: BTreeSet<&str> = pod["spec"]["volumes"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|volume| volume["name"].as_str())
            .collect();
        let mounted = containers(&pod).into_iter().flat_map(|container| container["volumeMounts"].as_array()).flatten();
        let mounted: BTreeSet<&str> = mounted.filter_map(|mount| mount["name"].as_str()).collect();
        assert_eq!(mounted, volumes, "{name}");
        let of_plustwo = container(&pod, "plustwo");
        let mounts = of_plustwo["volumeMounts"].as_array().expect("a list");
        let at = |volume: &str| {
            mounts.iter().find(|mount| mount["name"] == volume).and_then(|mount| mount["mountPath"].as_str())
        };
        let [configuration, run, state] =
            ["configuration", "run", "state"].map(|volume| at(volume).expect("it is mounted"));
        assert!(containerfile.contains(&format!("\"{configuration}/plustwo.toml\"]\n")), "{name}: {configuration}");
        assert!(containerfile.contains(&format!("STATE_DIRECTORY={state} RUNTIME_DIRECTORY={run}\n")), "{name}");
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let command = of_plustwo[probe]["exec"]["command"].as_array().expect("a command");
            let [program, verb] = [0, 1].map(|at| command[at].as_str().expect("a word"));
            assert!(containerfile.contains(&format!("COPY --chmod=755 plustwo {program}\n")), "{program}");
            let (code, _, said) = outcome(plustwo().arg(verb).arg("--help"));
            assert_eq!((code, &*said), (0, ""), "{verb}");
        }
    }
}

/// The ports of a container by protocol.
fn ports(container: &Value, protocol: &str) -> Vec<u64> {
    let ports = container["ports"].as_array().expect("a list").iter().filter(|port| port["protocol"] == protocol);
    ports.map(|port| port["containerPort"].as_u64().expect("a number")).collect()
}

#[test]
fn configurations_are_fine_and_ports_agree() {
    for name in ["sidecar", "node-local"] {
        let configuration = configuration(name);
        let pod = pod(name);
        let doors: Vec<SocketAddr> =
            configuration.model.vpcs.iter().flat_map(|vpc| vpc.listen.iter().copied()).collect();
        let [door] = *doors else { panic!("{name} has one door: {doors:?}") };
        let plustwo = container(&pod, "plustwo");
        assert_eq!(ports(plustwo, "UDP"), [u64::from(door.port())], "{name}");
        assert_eq!(ports(plustwo, "TCP"), [u64::from(door.port())], "{name}");
        let mounted = &pod["spec"]["volumes"][0]["configMap"]["name"];
        assert_eq!(*mounted, object(name, "ConfigMap")["metadata"]["name"], "{name}");
        if name == "sidecar" {
            // resolv.conf has no ports.
            assert_eq!((door.port(), &pod["spec"]["dnsConfig"]["nameservers"]), (53, &json!([door.ip().to_string()])));
            assert_eq!(pod["spec"]["securityContext"]["sysctls"][0]["value"], "53");
            let data = &object(name, "ConfigMap")["data"]["plustwo.toml"];
            assert_eq!(*data, read("config/examples/sidecar.toml"), "the ConfigMap is config/examples/sidecar.toml");
        }
    }
}

#[test]
fn the_service_and_the_scrapes_lead_to_the_pods() {
    let (pod, service, monitor) =
        (pod("node-local"), object("node-local", "Service"), object("monitoring", "PodMonitor"));
    let labels = &pod["metadata"]["labels"];
    assert_eq!(service["spec"]["selector"], *labels);
    assert_eq!(monitor["spec"]["selector"]["matchLabels"], *labels);
    assert_eq!(object("node-local", "DaemonSet")["spec"]["selector"]["matchLabels"], *labels);
    let plustwo = container(&pod, "plustwo");
    for port in service["spec"]["ports"].as_array().expect("a list") {
        let target =
            plustwo["ports"].as_array().expect("a list").iter().find(|of_pod| of_pod["name"] == port["targetPort"]);
        assert_eq!(target.map(|target| &target["protocol"]), Some(&port["protocol"]), "{port}");
        assert_eq!(port["port"], 53);
    }
    let metrics = container(&pod, "metrics");
    let [port] = *ports(metrics, "TCP") else { panic!("one port of metrics") };
    assert_eq!(metrics["ports"][0]["name"], monitor["spec"]["podMetricsEndpoints"][0]["port"]);
    let annotations = &pod["metadata"]["annotations"];
    assert_eq!(annotations["prometheus.io/port"], port.to_string());
    assert_eq!(annotations["prometheus.io/path"], monitor["spec"]["podMetricsEndpoints"][0]["path"]);
    let nginx = object("node-local", "ConfigMap")["data"]["metrics.conf"].as_str().expect("text").to_owned();
    assert!(nginx.contains(&format!("listen {port};")), "{nginx}");
    let admin = configuration("node-local").settings.admin.http.expect("it is asked over HTTP");
    assert!(nginx.contains(&format!("proxy_pass http://{admin};")), "{nginx}");
}

/// The status line and the body of a request's response.
fn ask(server: SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server).expect("it listens");
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).expect("a time");
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: pod.example:9354\r\nConnection: close\r\n\r\n")
        .expect("it reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("it answers");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

/// nginx of the example passes on what is counted, and nothing by which the daemon could be changed.
#[test]
fn nginx_passes_on_metrics_and_nothing_else() {
    let Some(nginx) = need_tool("nginx") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [door, admin, metrics] = [(); 3].map(|()| free_port(Ipv4Addr::LOCALHOST.into()));
    let map = object("node-local", "ConfigMap");
    let text = |key: &str| map["data"][key].as_str().expect("text").to_owned();
    let write = |name: &str, text: String| {
        std::fs::write(folder.path().join(name), text).expect("a file can be written");
        folder.path().join(name)
    };
    let toml =
        text("plustwo.toml").replace("127.0.0.1:9353", &admin.to_string()).replace("0.0.0.0:5353", &door.to_string());
    let toml = toml.replace("\"10.96.0.10\"", "");
    let toml = write("plustwo.toml", toml);
    let server = text("metrics.conf").replace("127.0.0.1:9353", &admin.to_string());
    let server = server.replace("listen 9354;", &format!("listen {metrics};"));
    let path = folder.path().display();
    let temporary =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {path}/{kind};"));
    let conf = format!(
        "daemon off; master_process off; pid {path}/pid; error_log stderr; events {{}}\n\
         http {{ access_log off; {}\n{server} }}\n",
        temporary.join(" ")
    );
    let conf = write("nginx.conf", conf);
    let daemon = Program::start(plustwo().args(["run", "--config"]).arg(toml));
    assert!(daemon.wait_for("serving generation 1").is_some(), "{}", daemon.said());
    let proxy = Program::start(Command::new(nginx).args(["-e", "stderr", "-c"]).arg(conf));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while TcpStream::connect(metrics).is_err() {
        assert!(std::time::Instant::now() < until, "nginx does not listen: {}", proxy.said());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let (status, body) = ask(metrics, "GET", "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK", "{body}");
    assert!(body.contains("# TYPE plustwo_"), "{body}");
    for (method, path) in
        [("POST", "/metrics"), ("DELETE", "/v1/cache?all=true"), ("POST", "/v1/shutdown"), ("GET", "/v1/status")]
    {
        let (status, _) = ask(metrics, method, path);
        assert!(status.starts_with("HTTP/1.1 40"), "{method} {path}: {status}");
    }
    let (status, _) = ask(admin, "GET", "/v1/status");
    assert!(!status.contains("200"), "a name in `Host` is refused without nginx: {status}");
}
