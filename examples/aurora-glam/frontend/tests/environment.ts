// The bases must be there before a module that reads them is loaded: imported first.
for (const [name, path] of [
  ["USER", "users"],
  ["SERVICE", "services"],
  ["APPOINTMENT", "appointments"],
  ["STAFF", "staff"],
  ["NOTIFICATION", "notifications"],
  ["REPORTS", "reports"],
]) {
  process.env[`NEXT_PUBLIC_${name}_API_BASE`] = `https://salon.test/api/${path}/`;
}
