// What an unmodified AWS SDK for JavaScript v3 does with a local SES: prints one JSON document of what it saw.
import { createRequire } from "node:module";

// The SDK lies in a folder of its own, beside no file of ours.
const sdk = createRequire(`${process.env.SDK_FOLDER}/package.json`)("@aws-sdk/client-sesv2");

const client = new sdk.SESv2Client({}); // endpoint, Region and keys come from the environment
const call = (name, input) => client.send(new sdk[`${name}Command`](input));
const seen = {};

await call("CreateEmailIdentity", { EmailIdentity: "js.example" });
await call("CreateTenant", { TenantName: "js" });
await call("CreateConfigurationSet", { ConfigurationSetName: "js" });
const { Arn, ...identity } = await call("GetEmailIdentity", { EmailIdentity: "js.example" });
seen.verified = identity.VerifiedForSendingStatus;
seen.created = (await call("GetTenant", { TenantName: "js" })).Tenant.CreatedTimestamp instanceof Date;

const mail = { FromEmailAddress: "a@js.example", Destination: { ToAddresses: ["b@there.example"] } };
const simple = { Simple: { Subject: { Data: "Grüße" }, Body: { Text: { Data: "Hi" } } } };
seen.sent = (await call("SendEmail", { ...mail, Content: simple })).MessageId;
const raw = Buffer.from("From: a@js.example\r\nTo: b@there.example\r\nSubject: Raw\r\n\r\nHi");
seen.raw = (await call("SendEmail", { Content: { Raw: { Data: raw } } })).MessageId;

await call("CreateEmailTemplate", {
  TemplateName: "js", TemplateContent: { Subject: "Hi {{name}}", Text: "Hi {{name}}" },
});
const template = { Template: { TemplateName: "js", TemplateData: JSON.stringify({ name: "Ann" }) } };
seen.templated = (await call("SendEmail", { ...mail, Content: template })).MessageId;
const rendered = await call("TestRenderEmailTemplate", { TemplateName: "js", TemplateData: '{"name": "Ann"}' });
seen.rendered = rendered.RenderedTemplate.includes("Hi Ann");

for (const number of [1, 2, 3, 4, 5]) await call("CreateEmailIdentity", { EmailIdentity: `d${number}.example` });
seen.pages = [];
for await (const page of sdk.paginateListEmailIdentities({ client, pageSize: 2 }, {}))
  seen.pages.push(page.EmailIdentities.map((each) => each.IdentityName));

try {
  await call("GetTenant", { TenantName: "nobody" });
} catch (error) {
  seen.missing = [error.name, error.$metadata.httpStatusCode, error instanceof sdk.NotFoundException];
}
try {
  await call("SendEmail", { ...mail, FromEmailAddress: "a@other.example", Content: simple });
} catch (error) {
  seen.rejected = [error.name, error.message];
}
console.log(JSON.stringify(seen));
